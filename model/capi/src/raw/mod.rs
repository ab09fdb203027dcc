//! Host storage as plain memory that faults.
