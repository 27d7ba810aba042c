"""LETTER (Wang et al., 2405.07314). LETTER-TIGER and LETTER-LC-Rec read the files of LC-Rec."""

from sid_jax.formats.lcrec import write_lcrec as write_letter

__all__ = ["write_letter"]
