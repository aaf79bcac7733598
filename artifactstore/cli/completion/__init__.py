"""Completion in shells: scripts for bash, zsh, fish and PowerShell, and the program that they ask."""
