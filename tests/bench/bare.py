"""A Flask view that returns a constant, and nothing else: what everything is measured against."""

from flask import Flask

app = Flask(__name__)


@app.get("/constant")
def constant() -> str:
    return "constant"
