"""Published dataset layouts, read into our recorded form and written from it."""
