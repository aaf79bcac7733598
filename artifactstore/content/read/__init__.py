"""Reading artifacts: into folders, memory and seekable files."""
