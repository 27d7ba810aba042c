"""Writes files for LETTER (Wang et al., 2405.07314), whose programs read LC-Rec's format."""

from sid_jax.formats.lcrec import write_lcrec as write_letter

__all__ = ["write_letter"]
