"""How the suite is seen from outside: health, metrics, logs."""
