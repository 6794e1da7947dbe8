"""Optimizers of other libraries (extra `optimizers`), as users have them, behind the protocol of ours."""
