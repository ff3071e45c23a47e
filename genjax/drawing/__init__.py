"""Pictures and charts of arrays, drawn with Matplotlib and Pillow."""
