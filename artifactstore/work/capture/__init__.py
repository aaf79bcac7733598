"""What a run was made with: its code, whatever the state of the working tree, and its environment."""
