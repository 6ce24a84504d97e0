"""DALL-E: a picture as a sentence of image tokens, continued from a sentence of words."""
