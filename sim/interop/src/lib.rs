//! Nothing to use: the tests of this package play the customer of a simulated machine with `s390_pv`, the
//! library behind the client programs of IBM Secure Execution.
