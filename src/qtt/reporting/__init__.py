"""Reports of searches: one HTML file for a person to read, and its figures as PNG and SVG."""
