import unittest

from shop import catalog


class Catalog(unittest.TestCase):
    def test_a_product_is_found_by_its_name(self):
        self.assertEqual(catalog.find("cup")["cents"], 450)

    def test_an_unknown_product_is_an_error(self):
        with self.assertRaises(KeyError):
            catalog.find("elephant")

    def test_every_product_has_a_price(self):
        for product in catalog.products():
            self.assertGreater(product["cents"], 0, product["name"])
