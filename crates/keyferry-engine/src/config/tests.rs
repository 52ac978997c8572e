mod keeping;
mod messages;
mod shipped;
mod trust;
