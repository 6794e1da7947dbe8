"""What `qtt doctor` looks at: packages, the machine, folders and networks, and what a search would choose."""
