"""Pages: self-contained HTML files with the templates, style and charts that all of them share."""
