"""The colours of charts."""

from __future__ import annotations

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Colours that people with any kind of colour vision can tell apart.

Source: Okabe & Ito 2008, with grey for their yellow, which is too light for a line on white.
"""
