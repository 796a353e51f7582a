//! Builds and runs what a pipeline file describes.
