"""Recognise labels in images by small networks that were trained on other images."""
