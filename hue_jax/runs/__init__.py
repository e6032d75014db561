"""The runs of a folder, compared on one page: what was told of them while they ran."""
