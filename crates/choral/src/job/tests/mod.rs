//! What is read, what it becomes, and what is written.

mod answer;
mod input;
mod parameter;
mod provider;
mod rows;
mod run;
