"""What error bars are good for: annotations that cannot be right, images worth annotating."""
