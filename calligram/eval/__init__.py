"""Evaluation: the one place where CLIP meets DALL-E."""
