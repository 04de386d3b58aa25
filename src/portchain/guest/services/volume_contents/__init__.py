"""volume-contents: serve the files of the engine's volumes."""
