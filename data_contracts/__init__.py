"""What crosses a stage boundary: typed, versioned, validated. The only importer of zarr."""
