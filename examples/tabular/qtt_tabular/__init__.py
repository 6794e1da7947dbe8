"""Tables as a task of qtt: gradient boosting and neural networks of scikit-learn."""
