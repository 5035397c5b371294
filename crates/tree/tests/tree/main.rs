//! Trees through the real file system: what is kept, where it goes, and what a hostile stream
//! cannot do.

#[cfg(test)]
mod check;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod landing;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod smoke;
