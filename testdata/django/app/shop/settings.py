import json
import os
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent


def environment():
    """The variables of environment.json where there is one, else the process's."""
    try:
        text = (Path.home() / "environment.json").read_text()
    except OSError:
        return dict(os.environ)
    return {**os.environ, **json.loads(text)}


def database(url):
    """A DATABASE_URL, sqlite:////absolute/path or postgres://..., for Django."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": unquote(parts.path[1:])}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": str(parts.port or 5432),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "NAME": unquote(parts.path[1:]),
    }


ENV = environment()

DEBUG = ENV.get("DEBUG") == "1"
# Without one of its own, sessions end when the release does.
SECRET_KEY = ENV.get("SECRET_KEY") or secrets.token_urlsafe(48)
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = ["django.contrib.staticfiles", "django_company", "shop"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES = {"default": database(ENV.get("DATABASE_URL") or f"sqlite:///{BASE_DIR}/db.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "collected"
TIME_ZONE = "UTC"
USE_TZ = True

COMPANY_CURRENCY = "EUR"
