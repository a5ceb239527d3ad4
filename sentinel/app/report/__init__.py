"""Pages anyone can open: one file, nothing fetched, no scripts, light and dark; plots are drawn here as SVG."""
