//! Runs the model and its oracle side by side, step by step.
