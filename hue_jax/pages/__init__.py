"""What all reports share: themes and figures, files, and where numbers come from."""
