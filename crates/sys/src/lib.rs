//! Unsafe fence 1: what the kernel offers, as safe functions. Nothing here decides or knows a vassal.

pub mod seqpacket;
