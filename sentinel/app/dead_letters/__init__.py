"""Dead letters as people look through them, send them in again and delete them."""
