mod mistakes;
mod real;
