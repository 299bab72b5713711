//! Tests of the SQL layer over a real session.
