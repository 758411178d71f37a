//! What the embedded log promises, seen from the seam and from outside.

mod scene;

mod files;
mod links;
mod outside;
mod seam;
