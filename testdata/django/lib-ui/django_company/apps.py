from django.apps import AppConfig


class CompanyConfig(AppConfig):
    name = "django_company"

    def ready(self):
        from django_company import checks  # noqa: F401
