"""Label each half of the images by networks that saw only the other half: mend clusters, and judge them."""
