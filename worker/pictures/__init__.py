"""Pictures for the report, drawn with Pillow."""
