"""Read images from tars and make batches of them on the device."""
