"""The words of qpubus: events, their bytes, their signatures, and who may say what."""

from schemas import events as events
