//! The table of commands, and the checks that all of them share (D2).
