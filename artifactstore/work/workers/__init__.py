"""Work by the workers of an executor: tasks of plain values, and the stores that workers open for them."""
