//! Images from a real registry, compared with what another tool makes of them, and booted.

mod bundle;
mod default_image;
mod engines;
mod interrupted;
mod pull;
mod reader;
mod refused;
mod run;
mod space;
