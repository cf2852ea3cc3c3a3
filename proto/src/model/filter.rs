//! Filter rules.
