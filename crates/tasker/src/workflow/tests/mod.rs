mod load;
mod mistakes;
mod real;
