from django.db import migrations


def add(apps, schema_editor):
    apps.get_model("shop", "Product").objects.create(name="Blue teapot", cents=2450)


def remove(apps, schema_editor):
    apps.get_model("shop", "Product").objects.filter(name="Blue teapot").delete()


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunPython(add, remove)]
