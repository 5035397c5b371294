//! What comes over the network arrives here, complete and verified, as files on this disk: the
//! blobs of OCI images from registries, and the bundles that catalogs name.
//!
//! Knows neither images nor VMs, and never looks inside a layer or a bundle.
