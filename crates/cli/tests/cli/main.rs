//! The command line from outside: the real binary, its exit codes, its two streams, and the files it leaves.

mod lissom;
mod models;

mod bad_data;
mod bad_models;
mod bad_places;
mod bad_recipes;
mod budgets;
mod demo;
mod documents;
mod killed;
mod train;
mod train_images;
mod train_killed;
mod verbs;
