//! The networks of Du, Li, Tenenbaum, Mordatch 2021.
