//! The helper in throw-away namespaces: what it makes is judged by `ip` and `nft`, and by packets.

mod changing;
mod host;
mod keeping;
mod operations;
mod reach;
mod rig;
mod roles;
