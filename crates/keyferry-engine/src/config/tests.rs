mod keeping;
mod messages;
mod trust;
