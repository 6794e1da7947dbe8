"""Small things that every room uses: clocks, files, console tables, the machine."""
