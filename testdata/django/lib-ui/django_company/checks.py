from django.conf import settings
from django.core.checks import Error, register

CURRENCIES = ("EUR", "GBP", "USD")


@register()
def currency(app_configs, **kwargs):
    if settings.COMPANY_CURRENCY in CURRENCIES:
        return []
    text = f"COMPANY_CURRENCY is {settings.COMPANY_CURRENCY!r}, not one of {', '.join(CURRENCIES)}"
    return [Error(text, id="company.E001")]
